package shell

import (
	"slices"
	"strings"
	"testing"
)

var testEnv = Map{"A": "apple", "EMPTY": "", "P": "/usr/local/lib", "SP": "two words", "é": "accent", "V": "1.22.3"}

func TestExpandText(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"plain", "plain"},
		{"$A", "apple"},
		{"${A}s", "apples"},
		{"$A.tar", "apple.tar"},
		{"$Apple", ""},
		{`\$A`, "$A"},
		{`'$A'`, "$A"},
		{`"$A"`, "apple"},
		{`"\$A"`, "$A"},
		{`"a\b"`, `a\b`},
		{`a\b`, "ab"},
		{"$", "$"},
		{"$é", "accent"},
		{"$1x", "x"},
		{"$12x", "x"},
		{"$$A", "A"},
		{"${U:-def}", "def"},
		{"${U-def}", "def"},
		{"${EMPTY:-def}", "def"},
		{"${EMPTY-def}", ""},
		{"${A:+yes}", "yes"},
		{"${EMPTY:+yes}", ""},
		{"${EMPTY+yes}", "yes"},
		{"${U+yes}", ""},
		{"${U:-${A:+x}y}", "xy"},
		{"${A:?no}", "apple"},
		{"${P#/*/}", "local/lib"},
		{"${P##/*/}", "lib"},
		{"${P%/*}", "/usr/local"},
		{"${P%%/*}", ""},
		{"${V%.*}", "1.22"},
		{"${V%%.*}", "1"},
		{"${P//\\//-}", "-usr-local-lib"},
		{"${P/l/L}", "/usr/Local/lib"},
		{"${A/p?/_}", "a_le"},
		{"${A//p/}", "ale"},
		{"${P#nothing}", "/usr/local/lib"},
		{"<<EOF", "<<EOF"},
		{`end\`, "end"},
		{"a\x80b", "a\uFFFDb"},
	} {
		got, err := Expander{}.Expand(tc.in, testEnv)
		if err != nil || got.Text != tc.want {
			t.Errorf("Expand(%q) = %q, %v; want %q", tc.in, got.Text, err, tc.want)
		}
	}
}

func TestExpandErrors(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"${A", "unsupported modifier (\uFFFD) in substitution"},
		{"${", "syntax error: missing '}'"},
		{"${}", "syntax error: bad substitution"},
		{"${{A}}", "syntax error: bad substitution"},
		{"${:x}", "syntax error: bad substitution"},
		{"${A:", "syntax error: missing '}'"},
		{"${A:-x", "syntax error: missing '}'"},
		{"${A:#x}", "unsupported modifier (:#) in substitution"},
		{"${A:x}", "unsupported modifier (:x) in substitution"},
		{"${A=x}", "unsupported modifier (=) in substitution"},
		{"${U:?}", "U: is not allowed to be unset"},
		{"${U?}", "U: is not allowed to be unset"},
		{"${EMPTY:?}", "EMPTY: is not allowed to be empty"},
		{"${U:?say it}", "U: say it"},
		{"${A/x}", "syntax error: missing '/' in ${}"},
		{"${A/x/y", "syntax error: missing '}'"},
		{"'open", "unexpected end of statement while looking for matching single-quote"},
		{`"open`, "unexpected end of statement while looking for matching double-quote"},
		{`${A#\q}`, `invalid pattern (\q) in substitution: invalid escape '\q'`},
	} {
		_, err := Expander{}.Expand(tc.in, testEnv)
		if err == nil || !strings.HasPrefix(err.Error(), "failed to process ") || !strings.HasSuffix(err.Error(), ": "+tc.want) {
			t.Errorf("Expand(%q): %v, want %q", tc.in, err, tc.want)
		}
	}
}

func TestExpandWords(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want []string
	}{
		{"a  b", []string{"a", "b"}},
		{"$SP", []string{"two", "words"}},
		{`"$SP"`, []string{"two words"}},
		{`'a b' c`, []string{"a b", "c"}},
		{`a\ b`, []string{"a b"}},
		{"80${U:-80} 1", []string{"8080", "1"}},
		{"<< EOF x", []string{"<< EOF", "x"}},
		{"", nil},
	} {
		got, err := Expander{}.Expand(tc.in, testEnv)
		if err != nil || !slices.Equal(got.Words, tc.want) {
			t.Errorf("words of %q = %q, %v; want %q", tc.in, got.Words, err, tc.want)
		}
	}
}

func TestExpandOptions(t *testing.T) {
	for _, tc := range []struct {
		name     string
		x        Expander
		in, want string
	}{
		{"keep quotes", Expander{KeepQuotes: true}, `'a' "$A"`, `'a' "apple"`},
		{"keep escapes", Expander{KeepEscapes: true}, `\$A \\`, `\$A \\`},
		{"plain quotes", Expander{PlainQuotes: true}, `'$A'`, `'apple'`},
		{"keep unset", Expander{KeepUnset: true}, `$U ${U} ${U:-x} ${U#y} ${U/a/b} $A`, `$U ${U} ${U:-x} ${U#y} ${U/a/b} apple`},
		{"backtick", Expander{Escape: '`'}, "`$A C:\\x", "$A C:\\x"},
	} {
		got, err := tc.x.Expand(tc.in, testEnv)
		if err != nil || got.Text != tc.want {
			t.Errorf("%s: %q, %v; want %q", tc.name, got.Text, err, tc.want)
		}
	}
}

func TestExpandReportsVariables(t *testing.T) {
	got, err := Expander{}.Expand("$A ${U:-$W} ${EMPTY}", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Used) != 2 || len(got.Undefined) != 2 {
		t.Fatalf("used %v, undefined %v", got.Used, got.Undefined)
	}
}

func TestExpandIsBounded(t *testing.T) {
	env := Map{"B": strings.Repeat("x", MaxOutput/2)}
	for _, in := range []string{"$B$B$B", `"$B$B$B"`, "${B//x/$B}", strings.Repeat("${U:-", 5000) + strings.Repeat("}", 5000)} {
		if _, err := (Expander{}).Expand(in, env); err == nil {
			t.Errorf("%.20q was expanded", in)
		}
	}
}

func TestListPrefersLaterEntries(t *testing.T) {
	list := List{"A=1", "B=2", "A=3"}
	if v, ok := list.Get("A"); !ok || v != "3" {
		t.Fatalf("A = %q, %v", v, ok)
	}
	if _, ok := list.Get("C"); ok {
		t.Fatal("C is set")
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"$A", "${A:-b}", "${P##*/}", "${P/a/b}", `"a\$"`, "'x'", "<<-EOF", "${A:?", "$$", "${P//\\//x}"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, in string, keep bool) {
		x := Expander{KeepUnset: keep, KeepEscapes: keep}
		got, err := x.Expand(in, testEnv)
		if err == nil && len(got.Text) > MaxOutput+len(testEnv["P"]) {
			t.Fatalf("%d bytes from %q", len(got.Text), in)
		}
	})
}
