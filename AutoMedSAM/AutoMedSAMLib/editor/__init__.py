"""AutoMedSAM within Slicer's Segment Editor."""
