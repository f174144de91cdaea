"""Videos in and out: files, folders of frames, DICOM cine."""
