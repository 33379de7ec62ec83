"""What ``cleanup_attention`` knows about attention: where it is (`finding`) and one file per rule."""
