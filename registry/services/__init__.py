"""Rules that span database and storage. No HTTP here."""
