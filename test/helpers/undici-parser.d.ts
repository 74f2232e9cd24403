/** undici does not export the types of its parser. These are the members that the tests use. */
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
