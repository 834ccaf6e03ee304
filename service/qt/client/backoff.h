// How long to wait before the next try to connect.
#pragma once

#include <algorithm>
#include <chrono>

namespace Whisper {

/// 0.25 s, then twice as long each time, up to 5 s.
class Backoff
{
public:
    static constexpr std::chrono::milliseconds First{250};
    static constexpr std::chrono::milliseconds Longest{5000};

    std::chrono::milliseconds next()
    {
        const std::chrono::milliseconds now = m_next;
        m_next = std::min(2 * m_next, Longest);
        return now;
    }
    void reset() { m_next = First; }

private:
    std::chrono::milliseconds m_next = First;
};

} // namespace Whisper
