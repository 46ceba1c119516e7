"""Detection in collections of images of any size, on one machine or a cluster."""
