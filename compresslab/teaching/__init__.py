"""How is it shown and checked? What the chapters share, and no other program needs."""
