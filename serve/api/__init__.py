"""HTTP for applications: one router a subject, answers of one publication, what a caller may see."""
