package lower

import (
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
)

// hiddenArgs configure the builder and are no variables of the steps.
var hiddenArgs = map[string]bool{argScanContext: true, argScanStage: true}

// scope expands an instruction's words with the variables that are set before
// it. It implements instruction.Expander.
type scope struct {
	c     *conversion
	s     *stage
	about *instruction.Meta
}

// Word implements instruction.Expander.
func (x scope) Word(text string) (string, error) {
	return x.expand(shell.Expander{Escape: x.c.file.Escape}, text)
}

// Document implements instruction.Expander. Here-documents know no other escape
// than the backslash.
func (x scope) Document(text string) (string, error) {
	return x.expand(shell.Expander{PlainQuotes: true}, text)
}

// expand warns about undefined variables even if the word as a whole is wrong.
func (x scope) expand(expander shell.Expander, text string) (string, error) {
	result, err := x.c.expand(expander, text, x.s.env)
	x.undefined(result.Undefined)
	return result.Text, err
}

// undefined warns about variables that are neither set nor declared.
func (x scope) undefined(names map[string]struct{}) {
	for name := range names {
		if _, declared := x.s.argNames[name]; declared || hiddenArgs[name] {
			delete(names, name)
		}
	}
	if len(names) > 0 {
		x.c.opt.Linter.Undefined(x.about, names, x.s.env.Names())
	}
}
