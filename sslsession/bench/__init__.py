"""What resumption saves, measured in this process: ``sslsession bench``."""
