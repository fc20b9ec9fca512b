"""What the tests are made with: certificates, joined peers, real programs, children."""
