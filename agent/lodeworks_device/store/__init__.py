"""What a device keeps: blobs, packages, how its algorithms stand, and second records of what was committed."""
