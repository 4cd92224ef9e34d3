"""Speed, memory and exactness of the library, measured on this machine."""
