package lower

import (
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
)

// env sets variables for later steps and for the image.
func (c *conversion) env(s *stage, i *instruction.Env) error {
	c.opt.Linter.Legacy(&i.Meta, i.Pairs)
	var text strings.Builder
	text.WriteString("ENV")
	for _, pair := range i.Pairs {
		c.opt.Linter.Secret(&i.Meta, "ENV", pair.Name)
		text.WriteString(" " + pair.String())
		s.env.set(pair.Name, pair.Value)
		s.image.Config.Env = setImageEnv(s.image.Config.Env, pair.Name, pair.Value)
	}
	return c.record(s, text.String(), false)
}
