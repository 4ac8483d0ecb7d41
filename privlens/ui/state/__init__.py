"""What one visitor has and what runs for them: session, edits, jobs, and the queue of long ones."""
