/**
 * client ─► **ack** ─► stream reader: a client acknowledges events, to any process. Owns the ids of streams, which name
 * the process and the user of the stream.
 *
 *   POST …/ack ─► this process ─┬─ has the stream: its reader may send more
 *                               └─ else: forwards the acknowledgement to the process named in the stream's id
 */
import { hash, randomUUID } from 'node:crypto'
import { isProcessId } from '../broker/broker.js'
import type { Auth } from '../core/auth.js'
import { RequestError } from '../core/errors.js'
import { authOf } from '../http/auth-of.js'
import { readJson } from '../http/body.js'
import type { AnyResponse, Exchange } from '../http/exchange.js'
import type { StreamRequest } from '../http/requester.js'
import type { Ack } from '../wire/contract.js'

/** The owner tag of streams without a user. Shorter than a hash, so it cannot equal one. */
const NO_OWNER = '-'

/**
 * Creates the id of a stream: its process, a UUID, and a tag of its owner. So any process knows where to forward an
 * acknowledgement, and from which user it must come. An id with another tag is not the id of any stream.
 */
export function streamId(processId: string, auth: Auth | undefined): string {
  const uuid = randomUUID()
  // Joined, because a template would keep its parts in memory, and each stream keeps its id.
  return [processId, uuid, ownerTag(uuid, auth)].join('.')
}

/**
 * The process that has the stream.
 * @throws RequestError `ERR_SSE_FORBIDDEN` for a stream of another user; `ERR_SSE_STREAM_UNKNOWN` if the id is invalid
 */
function processIdOf(stream: string, auth: Auth | undefined): string {
  const [processId, uuid = '', tag] = stream.split('.')
  if (!isProcessId(processId)) throw streamUnknown()
  if (tag !== ownerTag(uuid, auth)) throw new RequestError('ERR_SSE_FORBIDDEN', 'The stream belongs to another user')
  return processId
}

function streamUnknown(): RequestError {
  return new RequestError('ERR_SSE_STREAM_UNKNOWN', 'No stream with this id is open')
}

/** A stream without a user has no secret: any request without a user may acknowledge it. */
function ownerTag(uuid: string, auth: Auth | undefined): string {
  if (auth === undefined) return NO_OWNER
  return hash('sha256', JSON.stringify([uuid, auth.tenant, auth.user]), 'base64url').slice(0, 12)
}

/** @throws RequestError `ERR_SSE_ACK_INVALID` */
export function parseAck(body: unknown): Ack {
  const { stream, cursor, buffer, latencyMs } = (body ?? {}) as { readonly [name in keyof Ack]?: unknown }
  if (typeof stream !== 'string' || typeof cursor !== 'string') {
    throw new RequestError('ERR_SSE_ACK_INVALID', 'An acknowledgement is { stream, cursor, buffer?, latencyMs? }')
  }
  if (buffer !== undefined && !(typeof buffer === 'number' && buffer >= 0 && buffer <= 1)) {
    throw new RequestError('ERR_SSE_ACK_INVALID', 'buffer must be a number from 0 to 1')
  }
  if (latencyMs !== undefined && !(typeof latencyMs === 'number' && latencyMs >= 0 && Number.isFinite(latencyMs))) {
    throw new RequestError('ERR_SSE_ACK_INVALID', 'latencyMs must be a number of ms from 0')
  }
  return { stream, cursor, ...(buffer !== undefined && { buffer }), ...(latencyMs !== undefined && { latencyMs }) }
}

/** The maximum size of a request body. An acknowledgement is much smaller. */
const MAX_BODY_BYTES = 2048

export interface AckRoutes {
  readonly processId: string
  /** @returns whether this process has the stream */
  readonly acknowledgeHere: (ack: Ack) => boolean
  /** @returns whether the process exists */
  readonly forward: (processId: string, ack: Ack) => Promise<boolean>
}

/**
 * Answers 204 once the acknowledgement is applied, or 202 once it is forwarded to the process that has the stream.
 * @throws RequestError `ERR_SSE_ACK_INVALID`, `ERR_SSE_FORBIDDEN`, `ERR_SSE_STREAM_UNKNOWN`
 */
export async function acknowledge(
  exchange: Exchange,
  req: StreamRequest,
  res: AnyResponse,
  { processId, acknowledgeHere, forward }: AckRoutes,
): Promise<void> {
  const auth = authOf(req)
  const ack = parseAck(await bodyOf(req, exchange))
  const owner = processIdOf(ack.stream, auth)
  const isHere = owner === processId
  if (!(isHere ? acknowledgeHere(ack) : await forward(owner, ack))) throw streamUnknown()
  res.statusCode = isHere ? 204 : 202
  res.end()
}

async function bodyOf(req: StreamRequest, exchange: Exchange): Promise<unknown> {
  try {
    return await readJson(req, exchange, MAX_BODY_BYTES)
  } catch (cause) {
    throw new RequestError('ERR_SSE_ACK_INVALID', `The body must be JSON of at most ${MAX_BODY_BYTES} bytes`, { cause })
  }
}
