package doctor

// Category 11: time.

func timeChecks() []Check { return nil }
