"""Models that are downloaded, imported and removed. Nothing is downloaded unless a user asks for it."""
