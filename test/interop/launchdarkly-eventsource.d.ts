/** launchdarkly-eventsource has no types. These are the members that the tests use. */
declare module 'launchdarkly-eventsource' {
  interface Message {
    readonly type: string
    readonly data: string
    readonly lastEventId: string
  }

  export class EventSource {
    constructor(
      url: string,
      options?: { readonly https?: { readonly ca: string }; readonly rejectUnauthorized?: boolean },
    )
    readonly readyState: 0 | 1 | 2
    addEventListener(type: string, listener: (event: Message) => void): void
    close(): void
  }
}
