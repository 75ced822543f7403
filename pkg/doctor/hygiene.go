package doctor

// Category 12: security.

func hygieneChecks() []Check { return nil }
