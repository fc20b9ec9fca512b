"""The server of ``sslsession serve``, without its text: a worker, a fleet of them, a certificate made on the spot."""
