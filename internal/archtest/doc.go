// Package archtest holds the test of the architecture: which package may
// import which, where third-party clients live, and what no package does.
package archtest
