/** undici keeps its parser to itself; this is as much of it as the tests use. */
declare module 'undici/lib/web/eventsource/eventsource-stream.js' {
  interface ParsedEvent {
    readonly type: string
    readonly options: { readonly data: string; readonly lastEventId?: string }
  }

  export class EventSourceStream {
    constructor(options: { push: (event: ParsedEvent) => boolean })
    _transform(chunk: Buffer, encoding: string, callback: () => void): void
  }
}
