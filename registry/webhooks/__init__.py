"""Webhooks as what they are made of: endpoints, and events in the formats that receivers read. Pure."""
