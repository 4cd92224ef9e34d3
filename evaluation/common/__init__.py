"""What several programs of the evaluation need: networks, images, compressors, tables, files."""
