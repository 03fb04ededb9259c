// A strict reader of the pages under test: every tag closed in its order, attributes quoted and given once, entities
// known, nothing raw that has a meaning. Throws Error at the first breach.
#pragma once

#include <cctype>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/error.h"

namespace densetree::report {

struct Element {
  std::string name, text;  // text: decoded, with that of all children
  std::map<std::string, std::string> attributes;
  std::vector<std::unique_ptr<Element>> children;

  std::string attribute(const std::string& key) const {
    const auto found = attributes.find(key);
    return found == attributes.end() ? "" : found->second;
  }
  // All elements below, in order, with this name and, unless it is empty, this class.
  std::vector<const Element*> all(const std::string& tag, const std::string& kind = "") const {
    std::vector<const Element*> found;
    for (const auto& child : children) {
      if (child->name == tag && (kind.empty() || child->attribute("class") == kind)) {
        found.push_back(child.get());
      }
      for (const Element* below : child->all(tag, kind)) {
        found.push_back(below);
      }
    }
    return found;
  }
};

class MarkupReader {
 public:
  explicit MarkupReader(std::string_view text) : text_(text) {}

  std::unique_ptr<Element> read() {
    expect("<!DOCTYPE html>\n");
    std::unique_ptr<Element> root = element();
    expect("\n");
    check(at_ == text_.size(), "markup after the end");
    return root;
  }

 private:
  bool next_is(std::string_view what) const { return text_.substr(at_, what.size()) == what; }
  void expect(std::string_view what) {
    check(next_is(what), "expected '{}' at '{}'", what, text_.substr(at_, 40));
    at_ += what.size();
  }
  std::string word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-')) {
      ++at_;
    }
    check(at_ > begin, "expected a name at '{}'", text_.substr(begin, 40));
    return std::string(text_.substr(begin, at_ - begin));
  }
  // Up to `end`, which is left; entities decoded.
  std::string decoded(char end) {
    static const std::map<std::string_view, std::string> entities = {{"&amp;", "&"},   {"&lt;", "<"},  {"&gt;", ">"},
                                                                     {"&quot;", "\""}, {"&#39;", "'"}, {"&#160;", " "}};
    std::string result;
    while (at_ < text_.size() && text_[at_] != end) {
      const char c = text_[at_];
      check(c != '<' && c != '>' && (static_cast<unsigned char>(c) >= 0x20 || c == '\n'), "raw character {:#x} at '{}'",
            static_cast<int>(c), text_.substr(at_, 40));
      if (c == '&') {
        const std::size_t semicolon = text_.find(';', at_);
        const auto entity = entities.find(text_.substr(at_, semicolon - at_ + 1));
        check(entity != entities.end(), "unknown entity at '{}'", text_.substr(at_, 40));
        result += entity->second;
        at_ = semicolon + 1;
      } else {
        result += c;
        ++at_;
      }
    }
    return result;
  }
  void attributes(Element& element) {
    while (next_is(" ")) {
      ++at_;
      const std::string key = word();
      expect("=\"");
      check(element.attributes.emplace(key, decoded('"')).second, "attribute '{}' twice", key);
      expect("\"");
    }
  }
  std::unique_ptr<Element> element() {
    auto result = std::make_unique<Element>();
    expect("<");
    result->name = word();
    attributes(*result);
    if (next_is("/>")) {
      at_ += 2;
      return result;
    }
    expect(">");
    if (result->name == "style") {  // its text is raw
      const std::size_t end = text_.find('<', at_);
      result->text = text_.substr(at_, end - at_);
      at_ = end;
    }
    while (!next_is("</")) {
      if (next_is("<")) {
        result->children.push_back(element());
        result->text += result->children.back()->text;
      } else {
        check(at_ < text_.size(), "'{}' is not closed", result->name);
        result->text += decoded('<');
      }
    }
    expect("</" + result->name + ">");
    return result;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace densetree::report
