package display

import (
	"strconv"
	"strings"

	"github.com/morikuni/aec"
)

// settings of the tty view, from the environment.
type settings struct {
	// logLines is how many lines of output a running step shows.
	logLines int
	// Colours of steps that ended well, were broken off, failed; of warnings.
	// Nil is none.
	run, cancel, fail, warn aec.ANSI
	// faint is the style of output.
	faint aec.ANSI
}

// defaultLogLines is how many lines of output a running step shows.
const defaultLogLines = 6

// colours that people may name.
var colours = map[string]aec.ANSI{
	"default": aec.DefaultF,
	"black":   aec.BlackF, "light-black": aec.LightBlackF,
	"blue": aec.BlueF, "light-blue": aec.LightBlueF,
	"cyan": aec.CyanF, "light-cyan": aec.LightCyanF,
	"green": aec.GreenF, "light-green": aec.LightGreenF,
	"magenta": aec.MagentaF, "light-magenta": aec.LightMagentaF,
	"red": aec.RedF, "light-red": aec.LightRedF,
	"white": aec.WhiteF, "light-white": aec.LightWhiteF,
	"yellow": aec.YellowF, "light-yellow": aec.LightYellowF,
}

// settingsFrom reads the environment. What is not understood is left out: a
// build does not fail for its colours.
func settingsFrom(getenv func(string) string) settings {
	s := settings{logLines: defaultLogLines}
	if n, err := strconv.Atoi(getenv("BUILDKIT_TTY_LOG_LINES")); err == nil && n > 0 {
		s.logLines = n
	}
	if getenv("NO_COLOR") != "" {
		return s
	}
	s.run, s.cancel, s.warn, s.fail, s.faint = aec.BlueF, aec.YellowF, aec.YellowF, aec.RedF, aec.Faint
	for _, field := range strings.Split(getenv("BUILDKIT_COLORS"), ":") {
		key, value, ok := strings.Cut(field, "=")
		colour := parseColour(value)
		if !ok || colour == nil {
			continue
		}
		switch strings.ToLower(key) {
		case "run":
			s.run = colour
		case "cancel":
			s.cancel = colour
		case "error":
			s.fail = colour
		case "warning":
			s.warn = colour
		}
	}
	return s
}

// parseColour reads a name or "red,green,blue" with numbers up to 255.
func parseColour(value string) aec.ANSI {
	if c, ok := colours[strings.ToLower(value)]; ok {
		return c
	}
	parts := strings.Split(strings.Trim(value, `"`), ",")
	if len(parts) != 3 {
		return nil
	}
	var rgb [3]uint8
	for i, p := range parts {
		n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 8)
		if err != nil {
			return nil
		}
		rgb[i] = uint8(n)
	}
	return aec.Color8BitF(aec.NewRGB8Bit(rgb[0], rgb[1], rgb[2]))
}

// paint colours a text.
func paint(text string, c aec.ANSI) string {
	if c == nil {
		return text
	}
	return aec.Apply(text, c)
}
