"""What several test folders share: servers to start, images to push."""
