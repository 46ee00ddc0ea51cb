package lint

import (
	"strings"
	"unicode"
)

// Rule is something to warn about.
type Rule struct {
	// Name as users write it in a configuration.
	Name string
	// Description says what the rule wants.
	Description string
	// URL explains it, "" if there is no page.
	URL string
	// Experimental rules only apply when asked for.
	Experimental bool
}

// Rules. Descriptions and names are part of what clients show and users
// configure.
var (
	StageNameCasing             = rule("StageNameCasing", "Stage names should be lowercase")
	FromAsCasing                = rule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword")
	NoEmptyContinuation         = rule("NoEmptyContinuation", "Empty continuation lines will become errors in a future release")
	ConsistentInstructionCasing = rule("ConsistentInstructionCasing",
		"All commands within the Dockerfile should use the same casing (either upper or lower)")
	DuplicateStageName  = rule("DuplicateStageName", "Stage names should be unique")
	ReservedStageName   = rule("ReservedStageName", "Reserved words should not be used as stage names")
	JSONArgsRecommended = rule("JSONArgsRecommended",
		"JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals")
	MaintainerDeprecated = rule("MaintainerDeprecated",
		"The MAINTAINER instruction is deprecated, use a label instead to define an image author")
	UndefinedArgInFrom  = rule("UndefinedArgInFrom", "FROM command must use declared ARGs")
	WorkdirRelativePath = rule("WorkdirRelativePath", "Relative workdir without an absolute workdir declared within the build "+
		"can have unexpected results if the base image changes")
	UndefinedVar                    = rule("UndefinedVar", "Variables should be defined before their use")
	MultipleInstructionsDisallowed  = rule("MultipleInstructionsDisallowed", "Multiple instructions of the same type should not be used in the same stage")
	LegacyKeyValueFormat            = rule("LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used")
	RedundantTargetPlatform         = rule("RedundantTargetPlatform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior")
	SecretsUsedInArgOrEnv           = rule("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands")
	InvalidDefaultArgInFrom         = rule("InvalidDefaultArgInFrom", "Default value for global ARG results in an empty or invalid base image name")
	FromPlatformFlagConstDisallowed = rule("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value")
	CopyIgnoredFile                 = rule("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore")
	ExposeProtoCasing               = rule("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase")
	ExposeInvalidFormat             = rule("ExposeInvalidFormat", "IP address and host-port mapping should not be used in EXPOSE instruction. "+
		"This will become an error in a future release")
	InvalidBaseImagePlatform = &Rule{
		Name:        "InvalidBaseImagePlatform",
		Description: "Base image platform does not match expected target platform",
	}
	InvalidDefinitionDescription = experimental(rule("InvalidDefinitionDescription",
		"Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a "+
			"description comment, add an empty line or comment between the instruction and the comment."))
)

// rule makes a rule with the page that explains it.
func rule(name, description string) *Rule {
	return &Rule{Name: name, Description: description, URL: "https://docs.docker.com/go/dockerfile/rule/" + kebab(name) + "/"}
}

func experimental(r *Rule) *Rule {
	r.Experimental = true
	return r
}

// kebab writes FromAsCasing as from-as-casing and JSONArgs as json-args.
func kebab(name string) string {
	var out strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		word := unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || (i+1 < len(runes) && unicode.IsLower(runes[i+1])))
		if word {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}
