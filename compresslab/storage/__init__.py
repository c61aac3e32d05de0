"""Turn tensors into bytes and files, and back: bit packing and the ``.clab`` container."""
