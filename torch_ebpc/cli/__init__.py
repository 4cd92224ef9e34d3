"""The command line ``torch-ebpc``. It knows files and terminals; the rest of the package does the
work. What a command needs is imported when it runs.
"""
