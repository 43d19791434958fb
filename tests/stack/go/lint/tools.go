//go:build tools

// Package tools pins the linter of workflows that the tests run.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
