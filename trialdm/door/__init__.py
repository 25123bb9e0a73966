"""What pages and API share: who is at the door, what protects it, and how an error is answered."""
