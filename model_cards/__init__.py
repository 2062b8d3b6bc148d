"""Model cards: the template, and the code that fills it from results files and a page of facts."""
