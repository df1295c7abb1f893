"""What others install: the wheel, the image, the unit of systemd, the configuration of nginx."""
