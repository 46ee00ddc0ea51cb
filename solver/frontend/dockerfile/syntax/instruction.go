package syntax

// Instruction is one instruction as it is written.
type Instruction struct {
	// Keyword is the first word in its original case.
	Keyword string
	// Flags are the words starting with two dashes, quotes and escapes removed.
	Flags []string
	// Args are the arguments in the keyword's form: the elements of a JSON
	// array or of a list of words, or the rest of the line as one string.
	// HEALTHCHECK has its type first. For ONBUILD they are the trigger's
	// keyword and arguments.
	Args []string
	// JSON tells that the arguments were a JSON array.
	JSON bool
	// Pairs are the assignments of ENV and LABEL.
	Pairs []Pair
	// Heredocs are the here-documents, in the order of their marks.
	Heredocs []Heredoc
	// Source is the logical line, without here-documents.
	Source string
	// Comments are the comment lines before the instruction since the last
	// empty comment, marks removed.
	Comments []string
	// EmptyContinuation tells that a blank line stands inside the logical line.
	EmptyContinuation bool
	// First and Last are the physical lines, here-documents included;
	// ContinuationEnd is the last line without them.
	First, Last, ContinuationEnd int
}

// Ranges gives the instruction's lines.
func (i *Instruction) Ranges() []Range { return Lines(i.First, i.Last) }

// Pair is an assignment. Names and values are not expanded and keep their
// quotes.
type Pair struct {
	Name, Value string
	// Legacy tells the form without an equals sign.
	Legacy bool
}

// Heredoc is a here-document: a mark on the line and the text below it.
type Heredoc struct {
	// Name is the word that ends the text.
	Name string
	// Descriptor is the number before the mark, 0 if there is none.
	Descriptor uint
	// Expand is false when the word was quoted.
	Expand bool
	// Chomp is true for the form <<- : leading tabs do not count.
	Chomp bool
	// Content is the text with its line breaks, tabs still in place.
	Content string
}

// Text returns the content with the tabs removed if the mark asks for it.
func (h Heredoc) Text() string {
	if h.Chomp {
		return leadingTabs.ReplaceAllString(h.Content, "")
	}
	return h.Content
}

// File is a parsed Dockerfile.
type File struct {
	// Instructions in order; never empty.
	Instructions []*Instruction
	// Escape is the escape character, backslash unless a directive says
	// otherwise.
	Escape rune
}
