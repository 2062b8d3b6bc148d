"""Model cards: the template, and what fills it from results files and a page of facts."""
