package policy

// Bounds of what strangers may send, far above what people write.
const (
	// maxPolicies bounds a Set.
	maxPolicies = 64
	// maxRules bounds the rules of one policy.
	maxRules = 4096
	// maxConstraints bounds the constraints of one rule, maxUpdates the
	// attributes that it sets.
	maxConstraints = 64
	maxUpdates     = 64
	// maxPattern bounds identifiers, patterns and templates of rules, in bytes.
	maxPattern = 4 << 10
	// maxCost bounds what all patterns sent together cost, about in characters;
	// each takes some tens of bytes of memory.
	maxCost = 1 << 20
	// maxAttr bounds an attribute that a rule sets, in bytes; some hold keys
	// of many people.
	maxAttr = 1 << 20
	// maxIdentifier bounds what a conversion makes, in bytes.
	maxIdentifier = 16 << 10
	// maxRounds is how often a source may be converted; clients rely on it.
	maxRounds = 20
	// maxQuestions is how often a verifier is asked about one source, its
	// requests for more and its conversions counted; clients rely on it.
	maxQuestions = 10
)
