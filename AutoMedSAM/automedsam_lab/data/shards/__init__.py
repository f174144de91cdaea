"""Archives too large for one machine as shards: tar files of images, masks and JSON in WebDataset's layout."""
