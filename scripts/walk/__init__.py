"""The first hour, step by step: what is run, what it prints, what the files say."""
