"""What people may ask for: their data, correction, erasure, restraint; and the proof that an erasure left nothing."""
