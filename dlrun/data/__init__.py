"""Tables of images, and how batches are drawn from them."""
