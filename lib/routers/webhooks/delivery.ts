/**
 * parts of a payload ─► **delivery** ─► deliver once ─► onMessage, onStatus, onUnknown. Owns what one failure stops: the later parts
 * of its own conversation, which wait for the next delivery because their order counts, and no others.
 */
import { compositeKey } from '../../core/composite-key.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, SseError } from '../../core/errors.js'
import { AppFailure } from '../../http/answering.js'
import type { DeliverOnce } from './deliver-once.js'
import type { InboundMessage, InboundPart, InboundStatus, InboundUnknown, Provider } from './message.js'
import type { ResolvedWebhooksOptions } from './options.js'

type Handlers = Pick<ResolvedWebhooksOptions, 'onMessage' | 'onStatus' | 'onUnknown'>

/** One part that has a handler. */
interface Task {
  /** Names the part to all processes. */
  readonly key: string
  /** Names the customer; parts without one wait for none. */
  readonly conversation: string | undefined
  readonly operation: 'onMessage' | 'onStatus' | 'onUnknown'
  readonly about: { readonly provider: Provider; readonly accountId?: string; readonly messageId?: string }
  readonly handle: () => Promise<void>
}

/** Where the store fails for two parts in a row, it would for the others too, and each would wait for it. */
const MAX_STORE_FAILURES = 2

/**
 * Handles all parts that can be handled.
 * @param digest of the payload's bytes: names what has no id of its own
 * @returns how many messages were new
 * @throws AppFailure the first of the handlers' errors
 * @throws SseError if there was none of these, the first of the others
 */
export async function deliverParts(
  parts: readonly InboundPart[],
  digest: string,
  handlers: Handlers,
  deliverOnce: DeliverOnce,
): Promise<number> {
  const failures: unknown[] = []
  const waiting = new Set<string>()
  let storeFailures = 0
  let received = 0
  for (const task of tasksOf(parts, digest, handlers)) {
    const { key, conversation, operation, handle } = task
    if (conversation !== undefined && waiting.has(conversation)) continue
    try {
      if ((await deliverOnce.deliver(key, handle, operation)) && operation === 'onMessage') received++
      storeFailures = 0
    } catch (error) {
      failures.push(failureOf(task, error))
      if (conversation !== undefined) waiting.add(conversation)
      storeFailures = error instanceof BrokerError ? storeFailures + 1 : 0
      if (storeFailures === MAX_STORE_FAILURES) break
    }
  }
  if (failures.length > 0) throw failures.find((failure) => failure instanceof AppFailure) ?? failures[0]
  return received
}

/** Marks what a handler failed with, a time-out included, and reports it. Errors of the store, and of a delivery under way, stay. */
function failureOf({ operation, about }: Task, error: unknown): unknown {
  const timedOut = error instanceof SseError && error.code === 'ERR_SSE_CALLBACK_TIMEOUT'
  if (!timedOut && !(error instanceof HandlerError)) return error
  const failure = new AppFailure(operation, timedOut ? error : (error as HandlerError).cause)
  if (diagnostics.webhookError.hasSubscribers) {
    diagnostics.webhookError.publish({ ...about, operation, error: failure.cause })
  }
  return isClientError(failure.cause) ? new AppFailure(operation, notTheProviders(failure.cause)) : failure
}

/** What a handler threw or rejected with, which may be any error of the kit. */
class HandlerError extends Error {}

/** Error handlers answer such errors with their 4xx, but the provider has made no mistake and must deliver again. */
function isClientError(error: unknown): error is Error {
  const { status, statusCode } = error as { readonly status?: unknown; readonly statusCode?: unknown }
  return [status, statusCode].some((each) => typeof each === 'number' && each < 500)
}

function notTheProviders(cause: Error): Error {
  return new Error(cause.message, { cause })
}

function tasksOf(parts: readonly InboundPart[], digest: string, handlers: Handlers): readonly Task[] {
  const { onMessage, onStatus, onUnknown } = handlers
  const tasks: Task[] = []
  for (const [index, { message, status, unknown }] of parts.entries()) {
    if (message !== undefined) tasks.push(messageTask(message, onMessage))
    else if (status !== undefined) {
      if (onStatus !== undefined) tasks.push(statusTask(status, onStatus))
    } else {
      report(unknown, onUnknown !== undefined)
      if (onUnknown !== undefined) {
        const { provider } = unknown
        const key = compositeKey('webhook-unknown', provider, digest, String(index))
        const handle = handling(() => onUnknown(unknown))
        tasks.push({ key, conversation: undefined, operation: 'onUnknown', about: aboutPart(unknown), handle })
      }
    }
  }
  return tasks
}

function messageTask(message: InboundMessage, onMessage: Handlers['onMessage']): Task {
  const { provider, accountId, messageId, from } = message
  return {
    key: compositeKey('webhook', provider, messageId),
    conversation: compositeKey(accountId, from),
    operation: 'onMessage',
    about: { provider, accountId, messageId },
    handle: handling(() => onMessage(message)),
  }
}

function statusTask(reported: InboundStatus, onStatus: NonNullable<Handlers['onStatus']>): Task {
  const { provider, accountId, messageId, upTo, to, status } = reported
  const identity = JSON.stringify([accountId, messageId ?? null, upTo ?? null, to ?? null, status])
  return {
    key: compositeKey('webhook-status', provider, identity),
    conversation: to === undefined ? undefined : compositeKey(accountId, to),
    operation: 'onStatus',
    about: { provider, accountId, ...(messageId !== undefined && { messageId }) },
    handle: handling(() => onStatus(reported)),
  }
}

function aboutPart({ provider, accountId }: InboundUnknown): Task['about'] {
  return { provider, ...(accountId !== undefined && { accountId }) }
}

function handling(call: () => void | Promise<void>): () => Promise<void> {
  return async () => {
    try {
      await call()
    } catch (cause) {
      throw new HandlerError('', { cause })
    }
  }
}

/** Kinds that have been warned of in this process; bounded, because their names come from outside. */
const warned = new Set<string>()
const MAX_WARNED = 20

/** @param isHandled the application takes it */
function report(unknown: InboundUnknown, isHandled: boolean): void {
  const { provider, reason, what } = unknown
  if (diagnostics.webhookUnknown.hasSubscribers) {
    diagnostics.webhookUnknown.publish(unknown)
    return
  }
  const kind = `${provider}: ${reason} ${what}`
  if (isHandled || reason === 'left_out' || warned.has(kind) || warned.size >= MAX_WARNED) return
  warned.add(kind)
  process.emitWarning(
    `webhooks() has no use for a part of a delivery (${kind}). Give it onUnknown, or subscribe to diagnostics.webhookUnknown`,
    { code: 'SSE_WEBHOOK_UNKNOWN' },
  )
}
