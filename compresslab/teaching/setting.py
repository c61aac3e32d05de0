"""The setting in which every chapter computes, so that one machine's numbers are another's."""

import torch


def use_one_thread() -> None:
    """Let torch compute with one thread, whatever the machine offers.

    Threads share out the terms of a sum, and a float sum depends on how its terms are grouped. So training
    with two threads ends in other weights than training with one, and an accuracy moves by an image or two.

    Chapter: the first cell of each.

    >>> use_one_thread()
    >>> torch.get_num_threads()
    1
    """
    torch.set_num_threads(1)
