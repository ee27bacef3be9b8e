"""Side by side with what a user would pick instead: suites of measurements, each running all its sides in the same rounds."""
