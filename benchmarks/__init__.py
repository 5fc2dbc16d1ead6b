"""Every stage -> measured numbers, with peers beside them."""
