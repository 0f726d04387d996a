"""What people read: tables and drawings in the terminal, figures as files. Without torch."""
