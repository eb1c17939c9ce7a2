"""Checks that answer a reader's exercise. One file per chapter; `answers` is the machinery they share."""
