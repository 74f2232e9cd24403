/**
 * text in arbitrary pieces ─► **parse** ─► events (WHATWG HTML, 9.2.5 and 9.2.6). Also runs in browsers. Not a library,
 * because the client needs two things that event parsers do not report: the id of a block without data, which is a
 * position too, and an event as soon as its last line has ended, also if a CR ends it.
 */

export interface ReceivedEvent {
  readonly event?: string | undefined
  readonly data: string
  readonly id?: string | undefined
}

export interface ParserHandlers {
  readonly onEvent: (event: ReceivedEvent) => void
  /** Receives the id of a block without data. Such a block is not an event. */
  readonly onId: (id: string) => void
  readonly onRetry: (ms: number) => void
}

/**
 * Creates a parser.
 * @param assertFits receives the number of characters of the current data and of the unfinished line; must throw if
 * they are too many
 * @returns a function that takes the next piece of text, without byte order mark
 */
export function createParser(
  { onEvent, onId, onRetry }: ParserHandlers,
  assertFits: (chars: number) => void,
): (text: string) => void {
  /** The beginning of the unfinished line. */
  let rest = ''
  let endedInCr = false
  let data: string | undefined
  let type: string | undefined
  let id: string | undefined

  function onBlock(): void {
    // Checked for every block, so the result does not depend on how the network splits the text.
    assertFits(data?.length ?? 0)
    if (data !== undefined) onEvent({ event: type || undefined, data, id })
    else if (id !== undefined) onId(id)
    data = type = id = undefined
  }

  function onField(line: string): void {
    const [field, value] = split(line)
    if (field === 'data') data = data === undefined ? value : `${data}\n${value}`
    else if (field === 'event') type = value
    else if (field === 'id' && !value.includes('\0')) id = value
    else if (field === 'retry' && /^\d+$/.test(value)) onRetry(Number(value))
  }

  return (text) => {
    // Skip the LF of a CRLF whose CR was the end of the previous piece.
    const piece = endedInCr && text.startsWith('\n') ? text.slice(1) : text
    if (text !== '') endedInCr = piece.endsWith('\r')
    // Only the new piece is searched: a long line in many pieces would otherwise be searched again with each of them.
    if (/[\r\n]/.test(piece)) {
      const lines = (rest + piece).split(/\r\n?|\n/)
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line === '') onBlock()
        else onField(line)
      }
    } else {
      rest += piece
    }
    assertFits(rest.length + (data?.length ?? 0))
  }
}

function split(line: string): [field: string, value: string] {
  const colon = line.indexOf(':')
  return colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))]
}
