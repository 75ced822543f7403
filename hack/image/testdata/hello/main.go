// Command hello is a program small enough to be packed in a test.
package main

func main() { println("hello") }
