"""Models with compression in them, run by a C++ program without Python."""
