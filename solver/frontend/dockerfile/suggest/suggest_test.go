package suggest

import (
	"errors"
	"testing"
)

func TestNearest(t *testing.T) {
	options := []string{"link", "chown", "chmod", "from"}
	for _, tc := range []struct{ word, want string }{
		{"lnk", "link"},
		{"chowm", "chown"},
		{"link", ""},
		{"something", ""},
		{"fom", "from"},
		{"", ""},
	} {
		if got := Nearest(tc.word, options); got != tc.want {
			t.Errorf("Nearest(%q) = %q, want %q", tc.word, got, tc.want)
		}
	}
}

func TestNearestFold(t *testing.T) {
	options := []string{"RUN", "COPY"}
	for _, tc := range []struct{ word, want string }{
		{"RNU", "RUN"}, {"cpy", "copy"}, {"Cpoy", "copy"}, {"run", ""},
	} {
		if got := NearestFold(tc.word, options); got != tc.want {
			t.Errorf("NearestFold(%q) = %q, want %q", tc.word, got, tc.want)
		}
	}
}

func TestErrorKeepsCause(t *testing.T) {
	cause := errors.New("unknown flag: --lnk")
	err := Error(cause, "lnk", []string{"link"})
	if err.Error() != "unknown flag: --lnk (did you mean link?)" || !errors.Is(err, cause) {
		t.Fatalf("got %v", err)
	}
	if got := Error(cause, "xxxxx", []string{"link"}); got != cause { //nolint:errorlint // the very same error
		t.Fatal("an error without a proposal changed")
	}
}
