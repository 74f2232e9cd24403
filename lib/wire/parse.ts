/**
 * text in any pieces ─► **parse** ─► events (HTML, 9.2.5 and 9.2.6). Also runs in browsers. The kit's own, since a client needs what
 * parsers for events alone do not tell: that an id without data is a position too, and an event as soon as its last line has
 * ended, also by CR.
 */

export interface ReceivedEvent {
  readonly event?: string | undefined
  readonly data: string
  readonly id?: string | undefined
}

export interface ParserHandlers {
  readonly onEvent: (event: ReceivedEvent) => void
  /** A block without data, which is no event, has an id. */
  readonly onId: (id: string) => void
  readonly onRetry: (ms: number) => void
}

/**
 * @param assertFits told how many characters an event's data has, and what waits for the end of its line or block; throws if those
 * are too many
 * @returns takes the next piece, without byte order mark
 */
export function createParser(
  { onEvent, onId, onRetry }: ParserHandlers,
  assertFits: (chars: number) => void,
): (text: string) => void {
  /** Of the line that has not ended. */
  let rest = ''
  let endedInCr = false
  let data: string | undefined
  let type: string | undefined
  let id: string | undefined

  function onBlock(): void {
    // Also one that came in one piece: how the network cuts must make no difference.
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
    // Of a CRLF whose CR has ended the line already.
    const piece = endedInCr && text.startsWith('\n') ? text.slice(1) : text
    if (text !== '') endedInCr = piece.endsWith('\r')
    // Looked for in the piece alone: a long line that comes in many would be gone through again with each.
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
