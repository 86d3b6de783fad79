"""What run.py, test.py and compare.py share: building, packing an initrd, starting QEMU, making networks."""
